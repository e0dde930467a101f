// Command headgate runs all layers in one process (`headgate dev`) and is the operator's tool for a
// running system. `headgate help` lists its commands.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/lib/service"
)

// Exit codes, besides those of `headgate audit`.
const (
	exitFailed = 1 // the system said no, or did not answer
	exitUsage  = 2 // wrong flags or a wrong config
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)) }

// program is what the commands share. Flags and the environment are read here and nowhere else.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	configFile     string
	json           bool
	code           int // exit code of a command that succeeded
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	root := p.root()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return p.code
	}
	fmt.Fprintf(stderr, "headgate: %v\n", err)
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "headgate",
		Short:         "All layers in one process, and the operator's tool for a running system",
		Version:       service.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("headgate {{.Version}}\n")
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%v; see `%s --help`", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "config `file` (default $HEADGATE_CONFIG, else headgate.yaml in the data folder)")
	root.AddCommand(p.devCommand(), p.initCommand(), p.saleCommand(), p.banCommand(), p.unbanCommand(), p.bansCommand(), p.signoutCommand(), p.accountCommand(), p.edgeCommand(),
		p.tokenCommand(), p.auditCommand(), p.deadLettersCommand(), p.refundsCommand(), p.checkCommand(), p.ringCommand(), p.counterCommand(), p.rehearseCommand(),
		p.secretCommand(), p.preflightCommand())
	return root
}

// dataFolder is the flag's folder, else that of the environment, else ./data.
func (p *program) dataFolder(flag string) string {
	switch {
	case flag != "":
		return flag
	case p.getenv("HEADGATE_DATA") != "":
		return p.getenv("HEADGATE_DATA")
	}
	return "data"
}

// load reads the config of a running system.
func (p *program) load() (cli.Config, error) {
	file, err := p.configPath()
	if err != nil {
		return cli.Config{}, err
	}
	cfg, err := cli.LoadConfig(file)
	if err != nil {
		return cli.Config{}, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// configPath is the config that is named, or that of the data folder.
func (p *program) configPath() (string, error) {
	if p.configFile != "" {
		return p.configFile, nil
	}
	if file := p.getenv("HEADGATE_CONFIG"); file != "" {
		return file, nil
	}
	file := filepath.Join(p.dataFolder(""), cli.ConfigName)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return "", usage("config: there is no %s: name a config with --config or HEADGATE_CONFIG, or start one with `headgate dev`", file)
	}
	return file, nil
}

// api is the admin API of the running system that the config names.
func (p *program) api() (*cli.API, error) {
	cfg, err := p.load()
	if err != nil {
		return nil, err
	}
	api, err := cli.NewAPI(cfg.APIAddress(), cfg.Tokens())
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return api, nil
}

// jsonFlag adds --json to a command.
func (p *program) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
	return cmd
}
