#!/bin/sh
# Runs headgate.jmx without a window, then prints the report of its results:
#
#   run.sh [--out FILE.jtl] USERS.csv SALE [-Jhost=... -Jport=... -Jthreads=... -Jseconds=...]
#
# JMETER_HOME names the folder of a JMeter 3 or later, which is run as it is. Without it, Debian's JMeter 2.13
# is run through Launcher.java. Exit code: 0, or 1 when a check of the plan failed, 2 when it could not be run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
debian=/usr/share/jmeter

fail() {
	echo "run.sh: $*" >&2
	exit 2
}

out=
if [ "${1:-}" = --out ]; then
	[ $# -ge 2 ] || fail "--out: want a file"
	out=$2
	shift 2
fi
[ $# -ge 2 ] || fail "want: run.sh [--out FILE.jtl] USERS.csv SALE [-Jname=value ...]"
users=$1 sale=$2
shift 2
[ -r "$users" ] || fail "no token file $users: write one with bin/headgate token --users 10000 --out users.csv"
[ "$(head -n 1 "$users")" = user,token ] || fail "$users: the first line is not \`user,token\`: is it a file of \`headgate token\`?"
users=$(cd "$(dirname "$users")" && pwd)/$(basename "$users") # JMeter looks beside the plan
out=${out:-headgate-$(date +%Y%m%d-%H%M%S).jtl}
[ ! -e "$out" ] || fail "$out is there already: JMeter would add to it"
log=${out%.jtl}.log

set -- -n -t "$here/headgate.jmx" -q "$here/headgate.properties" -l "$out" -j "$log" -Jusers="$users" -Jsale="$sale" "$@"
home=${JMETER_HOME:-$debian}
if [ "$home" != "$debian" ]; then
	[ -x "$home/bin/jmeter" ] || fail "JMETER_HOME: there is no $home/bin/jmeter"
	"$home/bin/jmeter" "$@" || fail "JMeter failed: see $log"
else
	[ -e "$home/lib/ext/ApacheJMeter_http.jar" ] || fail "no JMeter in $home: apt-get install jmeter jmeter-http default-jdk-headless, or set JMETER_HOME"
	command -v javac >/dev/null || fail "Launcher.java needs a JDK: apt-get install default-jdk-headless"
	java -Djmeter.home="$home" -Djava.awt.headless=true -cp "$home/bin/ApacheJMeter.jar:$home/lib/*:$home/lib/ext/*" \
		"$here/Launcher.java" "$@" || fail "JMeter failed: see $log"
fi
echo
echo "results: $out, JMeter's log: $log"
exec "$here/report.sh" "$out"
