package apptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"headgate.example/apptest/programs"
)

func deployFolder(t *testing.T) string {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "deploy")
}

func readText(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNginxSamples lets nginx read the samples as they are, but for what a test's machine does not have: names of
// edges, a certificate, and the right to ports below 1024.
func TestNginxSamples(t *testing.T) {
	nginx := need(t, "HEADGATE_TEST_NGINX")
	folder := t.TempDir()
	certificate, key := selfSigned(t)
	writeText(t, filepath.Join(folder, "tls.pem"), certificate)
	writeText(t, filepath.Join(folder, "tls.key"), key)
	samples := []string{"headgate.conf", "headgate-locations.conf", "headgate-tls.conf"}
	for _, name := range samples {
		text := readText(t, deployFolder(t), "nginx", name)
		for _, edge := range []string{"edge-1:8080", "edge-2:8080", "edge-3:8080"} {
			if name == "headgate.conf" && !strings.Contains(text, edge) {
				t.Errorf("%s does not name %s", name, edge)
			}
		}
		text = strings.NewReplacer("edge-1:8080", "127.0.0.1:1", "edge-2:8080", "127.0.0.1:2", "edge-3:8080", "127.0.0.1:3", "/var/cache/nginx/", folder+"/",
			"/etc/nginx/tls/shop.example.pem", "tls.pem", "/etc/nginx/tls/shop.example.key", "tls.key", "listen 443", "listen 8443", "]:443", "]:8443", "listen 80;", "listen 8080;", "]:80;", "]:8080;").Replace(text)
		writeText(t, filepath.Join(folder, name), text)
	}
	for _, includes := range [][]string{{"headgate.conf"}, {"headgate.conf", "headgate-tls.conf"}} {
		main := "pid " + folder + "/nginx.pid;\nevents {}\nhttp {\n"
		for _, name := range includes {
			main += "include " + name + ";\n"
		}
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			main += kind + "_temp_path " + folder + "/" + kind + ";\n"
		}
		file := filepath.Join(folder, "nginx.conf")
		writeText(t, file, main+"}\n")
		r := programs.Run(t, nginx, "-t", "-p", folder, "-c", file, "-e", filepath.Join(folder, "error.log"))
		if r.Code != 0 || strings.Contains(r.Stderr, "[warn]") {
			t.Errorf("%v: exit code %d\n%s", includes, r.Code, r.Stderr)
		}
	}
}

// selfSigned makes a certificate for shop.example.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.example"}, DNSNames: []string{"shop.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", privateDER)
}

// mostExposed is the exposure that systemd-analyze may find at most, in tenths: below 2.0 of 10.
const mostExposed = "20"

// TestSystemdUnits lets systemd read the units, and holds them to their hardening.
func TestSystemdUnits(t *testing.T) {
	analyze := needProgram(t, "systemd-analyze")
	folder := t.TempDir()
	units := filepath.Join(deployFolder(t), "systemd")
	for _, program := range []string{"interceptor", "counter", "backend", "consumer"} {
		unit := filepath.Join(folder, "headgate@"+program+".service")
		text := strings.NewReplacer("/usr/local/bin/%i", bin.Path(program), "%i", program).Replace(readText(t, units, "headgate@.service"))
		writeText(t, unit, text)
		drops, err := filepath.Glob(filepath.Join(units, "headgate@"+program+".service.d", "*.conf"))
		if err != nil || program == "counter" && len(drops) != 1 {
			t.Fatalf("%s: %d drop-ins, %v", program, len(drops), err)
		}
		for _, drop := range drops {
			writeText(t, filepath.Join(unit+".d", filepath.Base(drop)), readText(t, drop))
		}
		r := programs.Run(t, analyze, "verify", unit)
		if said := strings.TrimSpace(r.Stdout + r.Stderr); r.Code != 0 || strings.Contains(said, folder) {
			t.Errorf("%s: verify: exit code %d\n%s", program, r.Code, said)
		}
		if r := programs.Run(t, analyze, "security", "--offline=true", "--threshold="+mostExposed, unit); r.Code != 0 {
			t.Errorf("%s: security: exit code %d\n%s%s", program, r.Code, r.Stdout, r.Stderr)
		}
	}
}

// composeFile is what the test looks at of deploy/compose/compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Build struct {
			Context, Dockerfile, Target string
		}
		Image       string
		Environment map[string]string
		Volumes     []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		Networks    []string
	}
	Networks map[string]any
	Volumes  map[string]any
}

// TestContainerFiles holds the container files to the programs and the samples: no engine runs here to build them.
func TestContainerFiles(t *testing.T) {
	deploy := deployFolder(t)
	docker := readText(t, deploy, "containers", "Dockerfile")
	for _, program := range []string{"interceptor", "counter", "backend", "consumer", "headgate"} {
		for _, want := range []string{"FROM program AS " + program + "\n", "COPY --from=build /src/bin/" + program + " /" + program + "\n", `ENTRYPOINT ["/` + program + `"]`} {
			if !strings.Contains(docker, want) {
				t.Errorf("Dockerfile: no %q", want)
			}
		}
	}
	for _, want := range []string{"FROM scratch AS program\n", "USER 65532:65532\n", "RUN make build "} {
		if !strings.Contains(docker, want) {
			t.Errorf("Dockerfile: no %q", want)
		}
	}
	if work := readText(t, deploy, "..", "go.work"); !strings.Contains(docker, "golang:"+regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(work)[1]+"-") {
		t.Error("Dockerfile: another version of Go than go.work")
	}
	if client, err := exec.LookPath("docker-compose"); err == nil { // it reads without an engine
		env := filepath.Join(t.TempDir(), ".env")
		writeText(t, env, programs.MustRun(t, bin.Path("headgate"), "secret", "--env"))
		r := programs.Run(t, client, "--env-file", env, "-f", filepath.Join(deploy, "compose", "compose.yaml"), "config", "--quiet")
		if r.Code != 0 {
			t.Errorf("docker-compose config: exit code %d\n%s", r.Code, r.Stderr)
		}
	} else {
		t.Log("docker-compose is not installed: its own word on the file is left out")
	}
	var compose composeFile
	if err := yaml.Unmarshal([]byte(readText(t, deploy, "compose", "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 10 {
		t.Errorf("compose: %d services", len(compose.Services))
	}
	for name, s := range compose.Services {
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := compose.Volumes[source]; named {
				continue
			}
			text := readText(t, deploy, "compose", filepath.FromSlash(source)) // it is there
			for _, variable := range regexp.MustCompile(`\$\{(HEADGATE_\w+)\}`).FindAllStringSubmatch(text, -1) {
				if _, set := s.Environment[variable[1]]; !set {
					t.Errorf("compose: %s: %s needs %s", name, source, variable[1])
				}
			}
		}
		for _, network := range s.Networks {
			if _, there := compose.Networks[network]; !there {
				t.Errorf("compose: %s: no network %s", name, network)
			}
		}
		if s.Build.Target == "" {
			continue
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("compose: %s may write, or has capabilities", name)
		}
		if _, err := os.Stat(filepath.Join(deploy, "compose", s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("compose: %s: %v", name, err)
		}
	}
}

// TestPrometheusFiles holds every metric that a rule names to what real programs show, and lets promtool read the
// files and try each alert.
func TestPrometheusFiles(t *testing.T) {
	folder := filepath.Join(deployFolder(t), "prometheus")
	rules := readText(t, folder, "headgate.rules.yaml")
	for _, alert := range []string{"HeadgateAuditViolated", "HeadgateShardWithoutLeader", "HeadgateQueueAge", "HeadgateDeadLetters", "HeadgateOutboxAge"} {
		if !strings.Contains(rules, "- alert: "+alert+"\n") {
			t.Errorf("no alert %s", alert)
		}
	}
	f := programs.NewFleet(t, bin, programs.FleetSpec{})
	shown := ""
	for _, program := range []string{"interceptor", "counter-s1", "backend", "consumer"} {
		shown += page(f.Admin(program) + "/metrics")
	}
	named := map[string]bool{}
	for _, line := range strings.Split(rules, "\n") {
		if expression, found := strings.CutPrefix(strings.TrimSpace(line), "expr: "); found {
			for _, metric := range regexp.MustCompile(`\bheadgate_\w+`).FindAllString(expression, -1) {
				named[metric] = true
			}
		}
	}
	if len(named) < 8 {
		t.Errorf("the rules name only %d metrics", len(named))
	}
	for metric := range named {
		if !regexp.MustCompile(`(?m)^` + metric + `[ {]`).MatchString(shown) {
			t.Errorf("no program shows %s", metric)
		}
	}
	promtool := need(t, "HEADGATE_TEST_PROMTOOL")
	for _, args := range [][]string{{"check", "config", "prometheus.yaml"}, {"check", "rules", "headgate.rules.yaml"}, {"test", "rules", "headgate.rules.test.yaml"}} {
		args[2] = filepath.Join(folder, args[2])
		if r := programs.Run(t, promtool, args...); r.Code != 0 {
			t.Errorf("promtool %v: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
}

// TestDeployHoldsNoSecret: nothing in deploy/ has a secret of its own, samples' words apart.
func TestDeployHoldsNoSecret(t *testing.T) {
	looked := 0
	assigned := regexp.MustCompile(`(?m)(secret|password|PASSWORD|SECRET|PASS|raft_secret)["']?[:=] *["']?([^\s"'$*&{},?:]{6,})`)
	err := filepath.WalkDir(deployFolder(t), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".env", ".conf", ".service", ""}, filepath.Ext(path)) {
			return err
		}
		looked++
		for _, found := range assigned.FindAllStringSubmatch(readText(t, path), -1) {
			if !strings.HasPrefix(found[2], "replace-me-by-") {
				t.Errorf("%s: %s", path, found[0])
			}
		}
		return nil
	})
	if err != nil || looked < 20 {
		t.Errorf("looked at %d files, %v", looked, err)
	}
}
