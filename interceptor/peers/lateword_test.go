package peers

import "testing"

// The last word of a process that has ended, read after its successor was connected to, is not the successor's.
func TestALateWordOfAnEndedProcessIsNotBelieved(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.startAll()
	one, two := c.nodes["edge-1"], c.nodes["edge-2"]
	two.mu.Lock()
	two.words += 10_000 // said so far
	two.mu.Unlock()
	last := two.word()
	last.draining = true
	c.kill("edge-2")
	c.start("edge-2")
	c.agree()
	one.peer("edge-2").said(last, false)
	if live, _ := one.Live(); live != 2 {
		t.Errorf("%d nodes are in the ring: a node that has just started is taken for draining", live)
	}
}
