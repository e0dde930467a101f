package ports

import (
	"net"
	"testing"
)

// What was given is free, and is given to nobody else until it is released.
func TestReserve(t *testing.T) {
	const each = 500
	first, releaseFirst, err := Reserve(each)
	if err != nil {
		t.Fatal(err)
	}
	second, releaseSecond, err := Reserve(each)
	if err != nil {
		t.Fatal(err)
	}
	defer releaseSecond()
	seen := make(map[string]bool)
	for _, address := range append(first[:each:each], second...) {
		if seen[address] {
			t.Errorf("%s was given twice", address)
		}
		seen[address] = true
	}
	for i, address := range first[:10] {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("%s is not free: %v", address, err)
			continue
		}
		_ = listener.Close()
		if mark, err := net.ListenPacket("udp", address); err == nil {
			_ = mark.Close()
			t.Errorf("address %d is not marked", i)
		}
	}
	releaseFirst()
	mark, err := net.ListenPacket("udp", first[0])
	if err != nil {
		t.Fatalf("the mark outlives its release: %v", err)
	}
	_ = mark.Close()
	if _, _, err := Reserve(high - low); err == nil {
		t.Error("more were given than there are")
	}
}
