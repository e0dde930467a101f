//go:build unix

package services

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// debianJMeter is where Debian's packages jmeter and jmeter-http put theirs.
const debianJMeter = "/usr/share/jmeter"

// lookUpJMeter gives JMeter's folder, JMETER_HOME or Debian's. What it needs beside the program is
// looked for as well: the HTTP sampler, which Debian packs separately, and a Java that runs source files.
func lookUpJMeter() (string, error) {
	home := cmp.Or(os.Getenv("JMETER_HOME"), debianJMeter)
	sampler := filepath.Join(home, "lib/ext/ApacheJMeter_http.jar")
	if _, err := os.Stat(sampler); err != nil {
		return "", fmt.Errorf("not installed: %w", err)
	}
	for _, program := range []string{"java", "javac"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("not installed: %w", err)
		}
	}
	return home, nil
}
