#!/bin/sh
# Prints what is in a result file that run.sh wrote: each kind of answer with its count and times. Exit code: 0,
# or 1 when a check of the plan failed, 2 when there is no result.
#
#   report.sh FILE.jtl
set -eu
[ $# = 1 ] && [ -r "$1" ] || { echo "report.sh: want a result file (.jtl) of run.sh" >&2; exit 2; }

# 1: the columns that matter, found by their names. 2: sorted by kind, then by time. 3: a line for each kind.
awk -F, '
	{ gsub(/["\r]/, "") }
	NR == 1 {
		for (i = 1; i <= NF; i++) column[$i] = i
		n = split("timeStamp elapsed label responseCode success code", names, " ")
		for (i = 1; i <= n; i++) if (!column[names[i]]) {
			print "report.sh: no column " names[i] " in the first line" > "/dev/stderr"
			exit 2
		}
		next
	}
	{
		status = $column["responseCode"]
		if (status !~ /^[0-9]+$/) status = "none" # no answer: JMeter puts an exception there
		answer = $column["code"] == "-" ? status : status " " $column["code"]
		printf "%s\t%s\t%s\t%s\t%s\n", $column["label"], answer, $column["elapsed"], $column["success"], $column["timeStamp"]
	}' "$1" | LC_ALL=C sort -t "$(printf '\t')" -k1,1 -k2,2 -k3,3n | awk -F '\t' '
	function close_kind() {
		if (!count) return
		printf "%-8s %-26s %8d %8d %8d %8d %8d %8d\n", label, answer, count, bad, at(50), at(90), at(99), elapsed[count]
		total += count; failed += bad
		count = bad = 0
	}
	function at(percent,  rank) { # nearest rank
		rank = int((count * percent + 99) / 100)
		return elapsed[rank < 1 ? 1 : rank]
	}
	BEGIN { printf "%-8s %-26s %8s %8s %8s %8s %8s %8s\n", "request", "answer", "count", "failed", "p50 ms", "p90 ms", "p99 ms", "max ms" }
	$1 != label || $2 != answer { close_kind(); label = $1; answer = $2 }
	{
		elapsed[++count] = $3
		if ($4 != "true") bad++
		if (!first || $5 < first) first = $5
		if ($5 + $3 > last) last = $5 + $3
	}
	END {
		close_kind()
		if (!total) { print "report.sh: no result in the file" > "/dev/stderr"; exit 2 }
		seconds = (last - first) / 1000
		printf "%-8s %-26s %8d %8d   in %.1f s", "all", "", total, failed, seconds
		if (seconds > 0) printf ", %.0f a second", total / seconds
		print ""
		exit failed > 0
	}'
