package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) checkCommand() *cobra.Command {
	var kind string
	type checked struct {
		File    string `json:"file"`
		Kind    string `json:"kind,omitempty"`
		Hash    string `json:"hash,omitempty"`
		Problem string `json:"problem,omitempty"`
	}
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check config files of any program",
		Long: "Read config files and say everything that is wrong with them: file, line, field, reason. Nodes that are\n" +
			"configured alike show the same hash; secrets do not take part in it.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			var results []checked
			wrong := 0
			for _, file := range files {
				found, hash, err := cli.CheckConfig(file, kind)
				c := checked{File: file, Kind: found, Hash: hash}
				if err != nil {
					wrong++
					c.Problem = err.Error()
				}
				results = append(results, c)
			}
			if p.json {
				if err := cli.WriteJSON(p.stdout, results); err != nil {
					return err
				}
			}
			for _, c := range results {
				switch {
				case c.Problem != "":
					fmt.Fprintln(p.stderr, c.Problem)
				case !p.json:
					fmt.Fprintf(p.stdout, "%s: right (%s, hash %s)\n", c.File, c.Kind, c.Hash)
				}
			}
			if wrong > 0 {
				return &exitError{exitUsage, fmt.Errorf("%d of %d config files are wrong", wrong, len(files))}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "whose config it is: "+strings.Join(cli.Kinds(), ", ")+" (default: by its name or content)")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return &exitError{exitUsage, errors.New("check: name at least one config file")}
		}
		return nil
	}
	return p.jsonFlag(cmd)
}
