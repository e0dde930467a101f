package counter

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/service"
)

// What INFO says: Redis's sections and names where they mean the same, so that its tools read them, and
// our own. While the shard is recovered, only what is known then.

type infoSection struct {
	name  string
	pairs []string
}

func (s *Server) infoSections() []infoSection {
	own := infoSection{"Headgate", []string{"shard_name", s.cfg.Shard.Name, "shard_number", strconv.Itoa(s.cfg.Shard.Number)}}
	first := []infoSection{s.serverInfo(), s.clientsInfo(), memoryInfo()}
	if s.recovering.Load() {
		return append(first, infoSection{"Persistence", s.recoveryInfo()}, s.statsInfo(), own)
	}
	st := s.replica.Status()
	own.pairs = append(own.pairs, s.totalsInfo()...)
	own.pairs = append(own.pairs, "memory_ready", digit(s.replica.MemoryReady()))
	return append(first,
		s.persistenceInfo(&st),
		s.statsInfo(),
		infoSection{"Replication", []string{"role", s.roleWord(), "connected_slaves", strconv.Itoa(max(0, st.Voters-1))}},
		raftInfo(&st),
		infoSection{"Voters", voterPairs(st.Members)},
		own,
	)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func digit(b bool) string { return strconv.FormatInt(boolean(b), 10) }

func (s *Server) serverInfo() infoSection {
	up := int(time.Since(s.started).Seconds())
	return infoSection{"Server", []string{
		"redis_version", "7.0.0", "redis_mode", "standalone", "headgate_version", service.Version(),
		"os", runtime.GOOS, "arch_bits", strconv.Itoa(strconv.IntSize), "process_id", strconv.Itoa(os.Getpid()),
		"tcp_port", portOf(s.Addr()), "uptime_in_seconds", strconv.Itoa(up), "uptime_in_days", strconv.Itoa(up / 86400),
	}}
}

func (s *Server) clientsInfo() infoSection {
	return infoSection{"Clients", []string{"connected_clients", strconv.Itoa(s.connections()), "maxclients", strconv.Itoa(s.cfg.Limits.Connections)}}
}

// memoryInfo reads the runtime's own figures, which does not stop the program.
func memoryInfo() infoSection {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	used, total, released := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	return infoSection{"Memory", []string{
		"used_memory", decimal(used), "used_memory_human", fmt.Sprintf("%.2fM", float64(used)/(1<<20)),
		"used_memory_rss", decimal(total - released), "maxmemory", "0",
	}}
}

func (s *Server) statsInfo() infoSection {
	return infoSection{"Stats", []string{
		"total_connections_received", decimal(s.meter.accepted.Get()), "total_commands_processed", decimal(s.meter.requests.Get()),
		"rejected_connections", decimal(s.meter.rejected.Get()), "refused_from_memory", decimal(s.meter.refused.Get()),
		"protocol_errors", decimal(s.meter.malformed.Get()), "slow_clients_closed", decimal(s.meter.evicted.Get()),
		"wrong_passwords", decimal(s.meter.wrongAuth.Get()),
	}}
}

func (s *Server) persistenceInfo(st *replica.Status) infoSection {
	return infoSection{"Persistence", append(s.recoveryInfo(),
		"aof_enabled", "1", "log_bytes_since_snapshot", strconv.FormatInt(st.LogBytes, 10), "log_last_index", decimal(st.LastIndex),
		"disk_low", digit(st.DiskLow), "log_failed", digit(st.Err != nil),
	)}
}

// recoveryInfo uses Redis's names where it has them.
func (s *Server) recoveryInfo() []string {
	step, loading := s.recoveryStep()
	pairs := []string{"loading", digit(loading)}
	if loading {
		pairs = append(pairs,
			"loading_start_time", strconv.FormatInt(s.started.Unix(), 10), "loading_step", step.Name, "loading_unit", step.Unit,
			"loading_done", strconv.FormatInt(step.Done, 10), "loading_total", strconv.FormatInt(step.Total, 10),
			"loading_loaded_perc", strconv.FormatFloat(step.Percent(), 'f', 2, 64))
	}
	return pairs
}

func raftInfo(st *replica.Status) infoSection {
	return infoSection{"Raft", []string{
		"raft_state", strings.ToLower(st.State), "raft_serving", digit(st.Serving), "raft_voter", st.Voter, "raft_term", decimal(st.Term),
		"raft_last_index", decimal(st.LastIndex), "raft_applied_index", decimal(st.Applied), "raft_voters", strconv.Itoa(st.Voters),
		"raft_queued_commands", strconv.Itoa(st.Queued), "raft_groups_in_flight", strconv.Itoa(st.InFlight),
		"raft_log_bytes_since_snapshot", strconv.FormatInt(st.LogBytes, 10), "raft_leader", st.Leader,
		"raft_entry_version", strconv.Itoa(st.Format),
	}}
}

func (s *Server) totalsInfo() []string {
	t := s.replica.Totals()
	pairs := []string{"sales", strconv.Itoa(t.Sales), "sales_paused", strconv.Itoa(t.Paused), "sales_from_backup", strconv.Itoa(len(t.FromBackup))}
	for _, n := range t.Named() {
		pairs = append(pairs, n.Kind+"_"+n.State, strconv.FormatInt(n.Count, 10))
	}
	return pairs
}
