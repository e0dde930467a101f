package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Metrics is what a program's /metrics said at one moment.
type Metrics string

// maxMetricsBytes bounds what is read of one answer.
const maxMetricsBytes = 4 << 20

// ReadMetrics asks an admin server, host:port.
func ReadMetrics(ctx context.Context, address string) (Metrics, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMetricsBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("/metrics of %s: status %d", address, response.StatusCode)
	}
	return Metrics(text), err
}

// Sum adds up the values of the metrics with a name and a part of the labels. 0 where there are none.
func (m Metrics) Sum(name, label string) (sum float64, err error) {
	for line := range strings.Lines(string(m)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		space := strings.LastIndexByte(rest, ' ')
		if !strings.Contains(rest[:space], label) {
			continue
		}
		value, wrong := strconv.ParseFloat(rest[space+1:], 64)
		sum, err = sum+value, errors.Join(err, wrong)
	}
	return sum, err
}
