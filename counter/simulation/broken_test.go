package simulation

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// brokenWithin bounds building and running one broken build.
const brokenWithin = 3 * time.Minute

// TestBrokenBuildsAreCaught: a check that cannot fail is none. Each build tag breaks one rule on purpose,
// and the simulation must name a seed that shows it, for the reason that fits.
func TestBrokenBuildsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the simulation three times more")
	}
	for tag, reason := range map[string]string{
		"simbroken_borrow": `which gave|acknowledged|took`,
		"simbroken_refuse": `which was never true`,
		"simbroken_wall":   `it was due at|it is due at`,
	} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), brokenWithin)
			defer cancel()
			cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-tags", tag, "-run", "^TestSeeds$", ".")
			for _, v := range os.Environ() {
				if !strings.HasPrefix(v, "HEADGATE_SIM_") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			out, err := cmd.CombinedOutput()
			text := string(out)
			if ctx.Err() != nil {
				t.Fatalf("not caught within %v:\n%s", brokenWithin, text)
			}
			found := regexp.MustCompile(`again with HEADGATE_SIM_SEED=(\d+)`).FindStringSubmatch(text)
			if err == nil || found == nil || !regexp.MustCompile(`seed \d+: .*(`+reason+`)`).MatchString(text) {
				t.Fatalf("is not caught (%v):\n%s", err, text)
			}
			t.Logf("caught by seed %s", found[1])
		})
	}
}
