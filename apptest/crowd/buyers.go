package crowd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// MaxBuyers bounds a crowd.
const MaxBuyers = 1_000_000

// Buyer is one signed-in user.
type Buyer struct{ User, Token string }

// ReadBuyers reads the CSV file that `headgate token --out FILE` writes: the header `user,token`, then
// one buyer a line. The error names the line.
func ReadBuyers(path string) ([]Buyer, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading buyers: %w", err)
	}
	defer file.Close()
	buyers, err := parseBuyers(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return buyers, nil
}

func parseBuyers(r io.Reader) ([]Buyer, error) {
	scan := bufio.NewScanner(r)
	if !scan.Scan() || scan.Text() != "user,token" {
		return nil, fmt.Errorf("line 1: want the header `user,token`, got %q", scan.Text())
	}
	var buyers []Buyer
	for line := 2; scan.Scan(); line++ {
		user, token, found := strings.Cut(scan.Text(), ",")
		if !found || user == "" || token == "" || strings.Contains(token, ",") {
			return nil, fmt.Errorf("line %d: want user,token", line)
		}
		if len(buyers) == MaxBuyers {
			return nil, fmt.Errorf("line %d: more than %d buyers", line, MaxBuyers)
		}
		buyers = append(buyers, Buyer{User: user, Token: token})
	}
	return buyers, scan.Err()
}
