// Command kustomize is the kustomize of go.mod, unchanged, plus one command for tests that ask it thousands of times:
//
//	kustomize serve
//
// reads a line `REORDER<tab>RESTRICTOR<tab>DIRECTORY` per build from standard input and answers each with a line
// `ok LENGTH`, `error LENGTH` or `panic LENGTH` and that many bytes: what `kustomize build` prints, or why it does not.
// It spares the start of a process per build. What kustomize dies of (an endless recursion) ends the server as well.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/kustomize/v5/commands"
	"sigs.k8s.io/kustomize/kustomize/v5/commands/build"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "kustomize serve:", err)
			os.Exit(1)
		}
		return
	}
	if err := commands.NewDefaultCommand().Execute(); err != nil {
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	log.SetOutput(io.Discard)
	fresh := openapi.GetSchemaVersion()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), "\t", 3)
		if len(words) != 3 {
			return fmt.Errorf("malformed request %q", lines.Text())
		}
		how, text := run(words[0], words[1], words[2])
		// The schema is the process's; a kustomization's own one would stay for the builds after it.
		if openapi.GetSchemaVersion() != fresh {
			openapi.ResetOpenAPI()
		}
		if _, err := fmt.Fprintf(out, "%s %d\n%s", how, len(text), text); err != nil {
			return err
		}
	}
	return lines.Err()
}

func run(reorder, restrictor, directory string) (how string, text []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			how, text = "panic", fmt.Append(nil, cause)
		}
	}()
	var output bytes.Buffer
	command := build.NewCmdBuild(filesys.MakeFsOnDisk(), build.MakeHelp("kustomize", "build"), &output)
	command.SetArgs([]string{"--reorder", reorder, "--load-restrictor", restrictor, directory})
	command.SilenceErrors = true
	command.SetOut(io.Discard)
	command.SetErr(io.Discard)
	if err := command.Execute(); err != nil {
		return "error", []byte(err.Error())
	}
	return "ok", output.Bytes()
}
