// Command kwok plays the kubelets of nodes that do not exist: it keeps their leases and moves their pods through the
// stages it is given. It is kwok's own command with three things around it: the lifeline, a subcommand `stages` that
// prints the stages this repository uses, and a nurse for pods that kwok has overlooked.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/cmd"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"

	"sluice.dev/hack/control-plane/lifeline"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "stages" {
		exitOn(printStages(os.Stdout))
		return
	}
	lifeline.Hold()
	exitOn(run(signals.SetupSignalContext()))
}

// run does what kwok's own main does; the nurse gets the same kubeconfig.
func run(ctx context.Context) error {
	global := pflag.NewFlagSet("global", pflag.ContinueOnError)
	global.ParseErrorsAllowlist.UnknownFlags = true
	global.Usage = func() {}
	ctx, _ = log.InitFlags(ctx, global)
	ctx, err := config.InitFlags(ctx, global)
	if err != nil {
		return err
	}
	command := cmd.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(global)
	if err := command.ParseFlags(os.Args[1:]); err != nil {
		return err
	}
	if kubeconfig, err := command.Flags().GetString("kubeconfig"); err == nil && kubeconfig != "" {
		go nurse(ctx, kubeconfig)
	}
	return command.ExecuteContext(ctx)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		os.Exit(1)
	}
}
