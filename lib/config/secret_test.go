package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const hidden = "hunter2-and-more"

type holder struct {
	Password Secret            `yaml:"password" json:"password"`
	List     []Secret          `yaml:"list" json:"list"`
	Map      map[string]Secret `yaml:"map" json:"map"`
	Pointer  *Secret           `yaml:"pointer" json:"pointer"`
	Wait     time.Duration     `yaml:"wait" json:"wait"`
	Inner    struct {
		Key Secret `yaml:"key" json:"key"`
	} `yaml:"inner" json:"inner"`
}

func hold(text Secret) holder {
	h := holder{Password: text, List: []Secret{text}, Map: map[string]Secret{"k": text}, Pointer: &text, Wait: 30 * time.Second}
	h.Inner.Key = text
	return h
}

func TestSecretsAreMaskedEverywhere(t *testing.T) {
	h := hold(hidden)
	var shown []string
	for _, value := range []any{h.Password, &h.Password, h, &h, h.List, h.Map, h.Pointer, any(h.Password)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%-3v", "%T"} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
		shown = append(shown, fmt.Sprint(value), fmt.Sprintln(value))
		asJSON, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		asYAML, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(asJSON), string(asYAML))
		var logs bytes.Buffer
		slog.New(slog.NewTextHandler(&logs, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&logs, nil)).Info("json", "value", value)
		shown = append(shown, logs.String())
	}
	asXML, err := xml.Marshal(h.Password)
	if err != nil {
		t.Fatal(err)
	}
	masked, err := Masked(&h)
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(asXML), string(masked), h.Password.String(), h.Password.GoString(), fmt.Errorf("x %w", fmt.Errorf("%v", h)).Error())
	hexed := fmt.Sprintf("%x", hidden)
	for _, text := range shown {
		if strings.Contains(text, "hunter2") || strings.Contains(strings.ToLower(text), hexed) {
			t.Errorf("a secret shows: %s", text)
		}
	}
	if got := fmt.Sprintf("%v %s %#v", h.Password, h.Password, h.Password); got != `*** *** "***"` {
		t.Errorf("the mask is %s", got)
	}
	if h.Password.Reveal() != hidden {
		t.Error("Reveal does not")
	}
}

func TestEmptySecretsShowAsEmpty(t *testing.T) {
	if got := fmt.Sprintf("[%v] [%#v]", Secret(""), Secret("")); got != `[] [""]` {
		t.Errorf("got %s", got)
	}
}

func TestMasked(t *testing.T) {
	h := hold(hidden)
	text, err := Masked(&h)
	if err != nil {
		t.Fatal(err)
	}
	want := `password: '***'
list:
    - '***'
map:
    k: '***'
pointer: '***'
wait: 30s
inner:
    key: '***'
`
	if string(text) != want {
		t.Errorf("got\n%s", text)
	}
	if _, err := Masked(struct{ F func() }{}); err == nil {
		t.Error("a function was written as YAML")
	}
}

// What Masked writes can be read again, so that an operator may start from it.
func TestMaskedReadsBack(t *testing.T) {
	c := sampleDefault()
	text, err := Masked(&c)
	if err != nil {
		t.Fatal(err)
	}
	c.Mode = "on" // the empty one is no value of its type
	text = bytes.Replace(text, []byte(`mode: ""`), []byte("mode: on"), 1)
	var back sample
	if err := Parse("masked", text, &back); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got, want := fmt.Sprintf("%+v", back), fmt.Sprintf("%+v", c); got != want {
		t.Errorf("read back\n%s\nwanted\n%s", got, want)
	}
}

func TestHash(t *testing.T) {
	a, b, c := hold("one"), hold("two"), hold("one")
	c.Wait = time.Minute
	if Hash(&a) != Hash(&b) {
		t.Error("the hash tells secrets apart, so weak ones can be guessed from it")
	}
	if Hash(&a) == Hash(&c) {
		t.Error("the hash does not tell configs apart")
	}
	if len(Hash(&a)) != 12 || Hash(a) != Hash(&a) {
		t.Errorf("the hash is %q", Hash(&a))
	}
}
