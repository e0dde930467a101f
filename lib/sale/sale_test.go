package sale

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOrderIDLayout(t *testing.T) {
	for _, c := range []struct {
		millis          int64
		shard, sequence int
	}{
		{0, 0, 1},
		{1, 1, 0},
		{90_000_000_000, 513, 77},
		{MaxIDTime, MaxShard, MaxSequence},
	} {
		id := MakeOrderID(c.millis, c.shard, c.sequence)
		if id.IDMillis() != c.millis || id.Shard() != c.shard || id.Sequence() != c.sequence {
			t.Errorf("%+v came back as %d %d %d", c, id.IDMillis(), id.Shard(), id.Sequence())
		}
		if id <= 0 {
			t.Errorf("%+v gives %d: an id must be positive", c, id)
		}
		back, err := ParseOrderID(id.String())
		if err != nil || back != id {
			t.Errorf("%s parsed to %d, %v", id, back, err)
		}
	}
	if got := MakeOrderID(0, 0, 1).Time(); !got.Equal(Epoch) {
		t.Errorf("time of the first id is %s", got)
	}
	if Epoch.UnixMilli() != EpochMillis {
		t.Errorf("EpochMillis is %d, the epoch %d", EpochMillis, Epoch.UnixMilli())
	}
}

func TestOrderIDsAscendWithTimeShardSequence(t *testing.T) {
	ascending := []OrderID{
		MakeOrderID(5, 3, 9), MakeOrderID(5, 3, 10), MakeOrderID(5, 4, 0), MakeOrderID(6, 0, 0),
	}
	for i := 1; i < len(ascending); i++ {
		if ascending[i] <= ascending[i-1] {
			t.Errorf("id %d (%d) is not above its predecessor (%d)", i, ascending[i], ascending[i-1])
		}
	}
}

func TestMakeOrderIDRefusesToWrap(t *testing.T) {
	for _, c := range [][3]int64{{-1, 0, 0}, {MaxIDTime + 1, 0, 0}, {0, MaxShard + 1, 0}, {0, 0, MaxSequence + 1}, {0, -1, 0}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v made an id", c)
				}
			}()
			MakeOrderID(c[0], int(c[1]), int(c[2]))
		}()
	}
}

func TestParseOrderIDRefuses(t *testing.T) {
	for _, text := range []string{"", "0", "-1", "+1", "01", " 1", "1 ", "1e3", "0x1", "9223372036854775808", "99999999999999999999", "١"} {
		if id, err := ParseOrderID(text); !errors.Is(err, ErrOrderID) {
			t.Errorf("%q parsed to %d, %v", text, id, err)
		}
	}
}

func TestOrderIDInJSONIsAString(t *testing.T) {
	text, err := json.Marshal(Binding{Order: 42, Sale: "1", User: "ann", Quantity: 1, Slot: 1})
	if err != nil || !strings.Contains(string(text), `"order":"42"`) {
		t.Errorf("%s, %v", text, err)
	}
	var b Binding
	if err := json.Unmarshal([]byte(`{"order":"0"}`), &b); err == nil {
		t.Error("order 0 was read")
	}
}

func terms() Terms {
	return Terms{
		ID: "1", Revision: 1, Stock: 100, Limit: 1, OpensAt: 1_000, EndsAt: 9_000,
		Releases:      []Release{{At: 2_000, Units: 30}, {At: 3_000, Units: 70}},
		HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
}

func TestTermsSurviveJSON(t *testing.T) {
	want := terms()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTerms(text)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(got)
	if string(again) != string(text) {
		t.Errorf("wrote %s, read %s", text, again)
	}
}

func TestTermsNameTheWrongField(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*Terms)
	}{
		{"id", func(t *Terms) { t.ID = "" }},
		{"id", func(t *Terms) { t.ID = "a/b" }},
		{"id", func(t *Terms) { t.ID = ".." }},
		{"revision", func(t *Terms) { t.Revision = 0 }},
		{"stock", func(t *Terms) { t.Stock = -1 }},
		{"limit", func(t *Terms) { t.Limit = -1 }},
		{"opens_at", func(t *Terms) { t.OpensAt = 0 }},
		{"ends_at", func(t *Terms) { t.EndsAt = t.OpensAt }},
		{"hold_for_ms", func(t *Terms) { t.HoldForMillis = 1 }},
		{"retain_for_ms", func(t *Terms) { t.RetainForMillis = t.HoldForMillis }},
		{"releases[0].units", func(t *Terms) { t.Releases[0].Units = 0 }},
		{"releases[1].units", func(t *Terms) { t.Releases[1].Units = 71 }},
		{"releases[0].at", func(t *Terms) { t.Releases[0].At = t.OpensAt - 1 }},
		{"releases[1].at", func(t *Terms) { t.Releases[1].At = t.Releases[0].At }},
		{"releases[1].at", func(t *Terms) { t.Releases[1].At = t.EndsAt }},
		{"shards", func(t *Terms) { t.Shards = nil }},
		{"shards[1]", func(t *Terms) { t.Shards = []string{"s1", "s1"} }},
		{"ring.partitions", func(t *Terms) { t.Ring.Partitions = 0 }},
		{"ring.replicas", func(t *Terms) { t.Ring.Replicas = 0 }},
		{"ring.load", func(t *Terms) { t.Ring.Load = 1 }},
	} {
		changed := terms()
		c.change(&changed)
		var wrong *FieldError
		if err := changed.Validate(); !errors.As(err, &wrong) || wrong.Field != c.field {
			t.Errorf("want an error for %s, got %v", c.field, err)
		}
	}
}

func TestParseTermsRefusesForeignJSON(t *testing.T) {
	for _, text := range []string{"", "null", "[]", "{", `{"id":"1"} {}`, `{"stok":1}`, `{"stock":"many"}`, `{"stock":1e99}`} {
		var wrong *FieldError
		if _, err := ParseTerms([]byte(text)); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestPhase(t *testing.T) {
	info := func(change func(*Info)) *Info {
		i := &Info{OpensAt: 1_000, EndsAt: 2_000, Available: 1}
		change(i)
		return i
	}
	for name, c := range map[string]struct {
		info *Info
		now  int64
		want Phase
	}{
		"before":          {info(func(*Info) {}), 999, Upcoming},
		"opens":           {info(func(*Info) {}), 1_000, Open},
		"last":            {info(func(*Info) {}), 1_999, Open},
		"ends":            {info(func(*Info) {}), 2_000, Ended},
		"no end":          {info(func(i *Info) { i.EndsAt = 0 }), 1 << 40, Open},
		"closed":          {info(func(i *Info) { i.Closed = true }), 500, Ended},
		"paused":          {info(func(i *Info) { i.Paused = true }), 500, Paused},
		"sold out":        {info(func(i *Info) { i.Available = 0; i.Held = 3 }), 1_500, SoldOut},
		"more to come":    {info(func(i *Info) { i.Available = 0; i.Scheduled = 3 }), 1_500, Open},
		"paused and over": {info(func(i *Info) { i.Paused = true }), 3_000, Ended},
		"forgotten":       {info(func(i *Info) { i.Forgotten = true }), 1_500, Ended},
	} {
		if got := c.info.Phase(c.now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestHoldStateWords(t *testing.T) {
	for _, s := range []HoldState{Held, Confirmed, Released, Expired} {
		if back, err := ParseHoldState(s.String()); err != nil || back != s {
			t.Errorf("%s came back as %s, %v", s, back, err)
		}
	}
	if _, err := ParseHoldState(""); err == nil {
		t.Error("an empty word is a state")
	}
}

func TestOrderMessage(t *testing.T) {
	want := OrderMessage{Version: MessageVersion, Ticket: "v1.k.x.y", AcceptedAt: time.Now().UnixMilli()}
	got, err := ParseOrderMessage(want.Encode())
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for field, text := range map[string]string{
		"version": `{"version":2,"ticket":"x"}`,
		"ticket":  `{"version":1}`,
		"json":    `{"version":1,"ticket":"x"}{}`,
		"message": `{"version":1,"ticket":"` + strings.Repeat("x", MaxMessageBytes) + `"}`,
	} {
		var wrong *FieldError
		if _, err := ParseOrderMessage([]byte(text)); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("want an error for %s, got %v", field, err)
		}
	}
}

func TestBindingNamesTheWrongField(t *testing.T) {
	good := Binding{Order: 1, Sale: "1", User: "ann", Quantity: 1, Slot: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Binding){
		"order":    func(b *Binding) { b.Order = 0 },
		"sale":     func(b *Binding) { b.Sale = "" },
		"user":     func(b *Binding) { b.User = "a b" },
		"quantity": func(b *Binding) { b.Quantity = MaxQuantity + 1 },
		"slot":     func(b *Binding) { b.Slot = 0 },
	} {
		b := good
		change(&b)
		var wrong *FieldError
		if err := b.Validate(); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("want an error for %s, got %v", field, err)
		}
	}
}

func FuzzParseOrderMessage(f *testing.F) {
	f.Add(OrderMessage{Version: 1, Ticket: "v1.a.b.c", AcceptedAt: 1}.Encode())
	f.Add([]byte(`{"version":99,"ticket":""}`))
	f.Add([]byte(`{"version":1,"ticket":"x","accepted_at":1e400}`))
	f.Add([]byte(strings.Repeat("[", 5000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseOrderMessage(text)
		if err != nil {
			var wrong *FieldError
			if !errors.As(err, &wrong) {
				t.Fatalf("an error without a field: %v", err)
			}
			return
		}
		again, err := ParseOrderMessage(m.Encode())
		if len(m.Encode()) <= MaxMessageBytes && (err != nil || again != m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

func FuzzParseTerms(f *testing.F) {
	text, _ := json.Marshal(terms())
	f.Add(text)
	f.Add([]byte(`{"id":"1","stock":-9223372036854775808,"releases":[{"units":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := ParseTerms(text)
		if err == nil && parsed.Validate() != nil {
			t.Fatal("terms were parsed that are not valid")
		}
	})
}

// TestNamesHaveNoSpaces: databases disagree on whether spaces at the end of a text count.
func TestNamesHaveNoSpaces(t *testing.T) {
	for name, check := range map[string]func(string) error{"user": CheckUser, "key": CheckKey, "sale": CheckSaleID} {
		if err := check("a1"); err != nil {
			t.Errorf("%s a1: %v", name, err)
		}
		for _, text := range []string{"a1 ", " a1", "a 1", " ", "a1\t"} {
			if check(text) == nil {
				t.Errorf("%s %q was accepted", name, text)
			}
		}
	}
}
