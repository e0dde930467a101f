package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Suite measures some figures.
type Suite struct {
	Name    string
	Measure func(ctx context.Context, dir string) error // the folder is its own
}

// Choose gives the suites that a comma-separated list names; all for "".
func Choose(all []Suite, only string) ([]Suite, error) {
	if only == "" {
		return all, nil
	}
	var chosen []Suite
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s Suite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no suite %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// Names lists suites for a usage message.
func Names(all []Suite) string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return strings.Join(names, ",")
}

// Run runs suites one after the other, each with a folder below in ("": where the system keeps temporary
// files), which is removed at its end.
func Run(ctx context.Context, suites []Suite, in, program string) error {
	for _, s := range suites {
		dir, err := os.MkdirTemp(in, program+"-"+s.Name+"-")
		if err != nil {
			return err
		}
		err = s.Measure(ctx, dir)
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name, err)
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}
