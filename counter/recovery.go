package counter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"headgate.example/counter/replica"
)

// recoveryStep is what recovery is at; false when it is over.
func (s *Server) recoveryStep() (replica.Step, bool) {
	if s.recovering.Load() {
		step, active := s.progress.Step()
		if !active {
			step = replica.Step{Name: "opening the data folder", Unit: "steps"}
		}
		return step, true
	}
	return s.replica.Recovering()
}

func (s *Server) recoveryText() string {
	step, _ := s.recoveryStep()
	return step.String()
}

func (s *Server) recoveryHealth(context.Context) error {
	if step, active := s.recoveryStep(); active {
		return errors.New(step.String())
	}
	return nil
}

// backupHealth tells of sales that nobody has rebuilt since the shard was restored from a backup.
func (s *Server) backupHealth(context.Context) error {
	const most = 5
	ids := s.replica.Totals().FromBackup
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("%d sales come from a backup and stand still until SALE.RESTORE rebuilds them from the ledger: %s", len(ids), strings.Join(ids[:min(most, len(ids))], ", "))
}

// abandon takes back what Open had begun when the shard cannot be recovered.
func (s *Server) abandon() error {
	err := s.listener.Close()
	<-s.accepted
	s.mu.Lock()
	s.draining = true
	for c := range s.conns {
		c.hurry()
	}
	s.mu.Unlock()
	s.cutAll()
	s.handlers.Wait()
	s.loops.stop()
	return err
}
