package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/lib/service"
)

func (p *program) devCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run all layers in one process, on embedded parts",
		Long: "Run counter, backend, consumer and interceptor in one process that needs nothing else. The first run\n" +
			"on an empty data folder writes a config with secrets of its own, demo accounts and two sales; a\n" +
			"later run keeps what is there. With --config it runs on that file and seeds nothing.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var folder *cli.Folder
			file := p.configFile
			if file == "" {
				var err error
				if folder, err = cli.OpenFolder(p.dataFolder(data)); err != nil {
					return &exitError{exitUsage, err}
				}
				file = folder.ConfigFile()
			}
			p.code = service.Main(cli.DevSpec(folder, p.stdout, p.stderr), []string{"--config", file}, p.stdout, p.stderr)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data `folder` (default $HEADGATE_DATA, else ./data)")
	return cmd
}

func (p *program) initCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a data folder for `headgate dev`, to look at or change its config before the first run",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			folder, err := cli.OpenFolder(p.dataFolder(data))
			if err != nil {
				return &exitError{exitUsage, err}
			}
			word := "is there already"
			if folder.New {
				word = "written"
			}
			fmt.Fprintf(p.stdout, "%s: %s\n", folder.ConfigFile(), word)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data `folder` (default $HEADGATE_DATA, else ./data)")
	return cmd
}
