package service

import (
	"runtime"
	"runtime/debug"
)

// version is set by -ldflags "-X headgate.example/lib/service.version=...", and never written after.
var version string //nolint:gochecknoglobals // the linker needs a variable

// Version is the program's version: what the linker was told, else the module's version, else the
// commit it was built from, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := build.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range build.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+modified"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + modified
}

func goVersion() string { return runtime.Version() }
