package measure

import "slices"

// Median is the middle value, or the mean of the two in the middle. There must be at least one.
func Median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
