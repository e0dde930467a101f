//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const nftWithin = 10 * time.Second

// cutter cuts members off with one nftables table of this cluster's own, on the loopback interface. The
// table stands only while somebody is cut off.
//
// What a member listens on is told by its ports. What it opens itself comes from ports that nobody knows
// before: a packet that it sends is known by the group id of its process (see process.go), is dropped, and
// puts the port that it came from into a set, so that answers to there are dropped from then on, too. A port
// is forgotten when nothing was sent from it for a while, since another program may be given it next.
type cutter struct {
	nft   string // the program; "": it is missing
	table string

	mu  sync.Mutex
	cut map[string]cutRule // by name of the member
}

// cutRule is what tells a member's packets.
type cutRule struct {
	gid   uint32
	ports []string
}

func newCutter(nft string, folder Folder) *cutter {
	return &cutter{nft: nft, table: fmt.Sprintf("headgate_%08x", folder.id()), cut: make(map[string]cutRule)}
}

// id tells clusters on one machine apart.
func (f Folder) id() uint32 { return crc32.ChecksumIEEE([]byte(f.Path)) }

// errNoCuts says why nobody can be cut off.
func (c *cutter) usable() error {
	switch {
	case os.Geteuid() != 0:
		return errors.New("only root may cut: nftables needs it (start the cluster as root)")
	case c.nft == "":
		return errors.New("nft is not installed (apt-get install nftables)")
	}
	return nil
}

// set cuts a member off, or heals it when the rule has no ports and no group. Doing it twice is harmless.
func (c *cutter) set(ctx context.Context, name string, rule cutRule, cut bool) error {
	if err := c.usable(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, was := c.cut[name]
	if cut {
		c.cut[name] = rule
	} else {
		delete(c.cut, name)
	}
	err := c.apply(ctx)
	if err != nil {
		delete(c.cut, name)
		if was {
			c.cut[name] = before
		}
	}
	return err
}

// clear removes the table, one that an earlier supervisor left included.
func (c *cutter) clear(ctx context.Context) error {
	if c.usable() != nil {
		return nil // then there cannot be one
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cut)
	return c.apply(ctx)
}

// apply puts the whole table in place at once.
func (c *cutter) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nftWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.nft, "-f", "-") //nolint:gosec // a path that we found
	cmd.Stdin = strings.NewReader(c.rules())
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func (c *cutter) rules() string {
	var b, rules strings.Builder
	fmt.Fprintf(&b, "add table inet %[1]s\ndelete table inet %[1]s\n", c.table)
	if len(c.cut) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n", c.table)
	for name, rule := range c.cut {
		set := "from_" + strings.ReplaceAll(name, "-", "_")
		ports := strings.Join(rule.ports, ", ")
		fmt.Fprintf(&b, "\tset %s { type inet_service; flags dynamic, timeout; timeout 10s; size 65535; }\n", set)
		fmt.Fprintf(&rules, "\t\toifname \"lo\" tcp dport { %[1]s } drop\n\t\toifname \"lo\" tcp sport { %[1]s } drop\n", ports)
		fmt.Fprintf(&rules, "\t\toifname \"lo\" meta skgid %d update @%[2]s { tcp sport timeout 10s } drop\n\t\toifname \"lo\" tcp dport @%[2]s drop\n", rule.gid, set)
	}
	fmt.Fprintf(&b, "\tchain out {\n\t\ttype filter hook output priority 0; policy accept;\n%s\t}\n}\n", rules.String())
	return b.String()
}
