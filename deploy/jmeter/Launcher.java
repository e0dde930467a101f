import com.thoughtworks.xstream.XStream;
import java.lang.reflect.Field;
import org.apache.jmeter.JMeter;
import org.apache.jmeter.save.SaveService;
import org.apache.jmeter.util.JMeterUtils;
import org.apache.jorphan.logging.LoggingManager;

/**
 * Starts Debian's JMeter 2.13. Its plans are read by XStream, which since 1.4.18 makes only objects of types that
 * it was told about. JMeter 2.13 is older than that rule and tells it of none, so that no plan can be read. This
 * names JMeter's own types before JMeter starts. Later versions of JMeter do so by themselves.
 *
 * <p>Run by run.sh as a source file: java -Djmeter.home=FOLDER -cp JARS Launcher.java ARGUMENTS-OF-JMETER
 */
public final class Launcher {
    public static void main(String[] arguments) throws ReflectiveOperationException {
        String home = System.getProperty("jmeter.home");
        JMeterUtils.setJMeterHome(home);
        LoggingManager.setPriority("WARN"); // until JMeter sets its log up
        JMeterUtils.loadJMeterProperties(home + "/bin/jmeter.properties"); // SaveService reads them when it is loaded
        for (String name : new String[] {"JMXSAVER", "JTLSAVER"}) {
            Field saver = SaveService.class.getDeclaredField(name);
            saver.setAccessible(true);
            ((XStream) saver.get(null)).allowTypesByWildcard(new String[] {"org.apache.jmeter.**", "org.apache.jorphan.**"});
        }
        new JMeter().start(arguments);
    }
}
