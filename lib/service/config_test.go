package service

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
)

func TestConfigValidates(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Admin = "127.0.0.1:0" }, ""},
		{func(c *Config) { c.Admin = ":8180" }, ""},
		{func(c *Config) { c.Admin = "8180" }, "admin: must be host:port"},
		{func(c *Config) { c.Admin = "localhost:99999" }, "admin: the port must be 0 to 65535"},
		{func(c *Config) { c.Admin = "localhost:http" }, "admin: the port must be 0 to 65535"},
		{func(c *Config) { c.LogLevel = "loud" }, "log_level: must be debug, info, warn or error, is \"loud\""},
		{func(c *Config) { c.LogFormat = "xml" }, "log_format: must be text or json"},
		{func(c *Config) { c.DrainFor = 0 }, "drain_for: must be above 0"},
		{func(c *Config) { c.DrainFor = time.Hour }, "drain_for: must be above 0 and at most 10m0s, is 1h0m0s"},
	} {
		conf := DefaultConfig()
		c.change(&conf)
		var p config.Problems
		conf.Validate(&p)
		if err := p.Err(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", conf, err, c.want)
		}
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"info", "text", "level=INFO msg=b secret=***"},
		{"debug", "json", `"msg":"a"`},
		{"error", "text", ""},
	} {
		var out bytes.Buffer
		conf := DefaultConfig()
		conf.LogLevel, conf.LogFormat = c.level, c.format
		log, err := NewLogger(conf, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("a")
		log.Info("b", "secret", config.Secret("hidden"))
		if !strings.Contains(out.String(), c.want) || c.want == "" && out.Len() > 0 || strings.Contains(out.String(), "hidden") {
			t.Errorf("%+v: logged %q", c, out.String())
		}
	}
	if _, err := NewLogger(Config{LogLevel: "x"}, &bytes.Buffer{}); err == nil {
		t.Error("an unknown level was taken")
	}
}
