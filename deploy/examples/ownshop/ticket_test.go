package main

import (
	"errors"
	"strings"
	"testing"
)

// A ticket as the edge signs it, made with openssl.
const signed = "v1.t1.eyJvcmRlciI6IjM4MzAwMjczODQwMTIxODU2MCIsInNhbGUiOiJrZXR0bGUiLCJ1c2VyIjoidTEiLCJxdWFudGl0eSI6Miwic2xvdCI6MSwia2V5IjoiIiwiZXhwIjoxfQ.6bLa6FxpQ7wAzqyOER9YlnFB6n_YspzBSn0viuEbdeQ"

func TestVerify(t *testing.T) {
	secrets := map[string]string{"t1": "ticket-secret-of-the-test"}
	got, err := verify(secrets, signed)
	if err != nil || got != (ticket{Order: "383002738401218560", Sale: "kettle", User: "u1", Quantity: 2}) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"", "v1.t1..", signed[:len(signed)-1], signed + "A", strings.Replace(signed, "v1.t1.eyJv", "v1.t1.eyJw", 1), strings.Replace(signed, "t1", "t2", 1), strings.Replace(signed, "v1", "v2", 1)} {
		if got, err := verify(secrets, wrong); !errors.Is(err, errTicket) {
			t.Errorf("%q: %+v, %v", wrong, got, err)
		}
	}
	if _, err := verify(map[string]string{"t1": "", "": "x"}, signed); err == nil {
		t.Error("an empty secret verifies")
	}
}
