// Command plugincheck tells whether a plugin, in whatever language, keeps the rules of the protocol:
//
//	go run github.com/alphaonedev/federation/sdk/plugin/plugincheck -set url=https://pki.example -secret token=@token.txt -- ./my-plugin
//
// It starts the plugin as a node would, and as a node must never find it: with strangers at its socket, with
// a bad configuration, killed while it signs. It prints a verdict and a cure for each rule; -json and -junit
// write the same for machines. The exit status is 0 when every rule holds, 1 when one does not, and 2 when
// nothing could be checked.
//
//	plugincheck -new DIR -lang go|python|node
//
// writes the skeleton of a plugin that passes.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/alphaonedev/federation/sdk/plugin"
)

func main() {
	switch {
	case len(os.Args) > 2 && os.Args[1] == hostArg:
		beHost(os.Args[2])
		return
	case len(os.Args) == 2 && os.Args[1] == suiteArg:
		runSuite()
		return
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// pairs collects name=value; a value of @file is the file's content without the line break at its end.
type pairs map[string]string

func (p pairs) String() string { return "" }

func (p pairs) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not name=value", s)
	}
	if file, ok := strings.CutPrefix(value, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		value = strings.TrimRight(string(b), "\r\n")
	}
	p[name] = value
	return nil
}

type list []string

func (l *list) String() string     { return "" }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("plugincheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: plugincheck [flags] -- PLUGIN [argument ...]\n       plugincheck -new DIR -lang go|python|node")
		flags.PrintDefaults()
	}
	settings, secrets := pairs{}, pairs{}
	var env list
	flags.Var(settings, "set", "a setting, `name=value` or name=@file; repeat it for several")
	flags.Var(secrets, "secret", "a secret, `name=value` or name=@file; repeat it for several")
	flags.Var(&env, "env", "a variable of the plugin's environment, `NAME=value`; repeat it for several")
	jsonFile := flags.String("json", "", "write the verdicts as JSON to `file`; - is standard output, instead of the text")
	junitFile := flags.String("junit", "", "write the verdicts as JUnit XML to `file`")
	only := flags.String("only", "", "check these rules alone, by their names, comma-separated")
	listRules := flags.Bool("list", false, "list the rules")
	cycles := flags.Int("cycles", 1000, "reconfigurations over which memory and descriptors must stay flat")
	start := flags.Duration("start", 10*time.Second, "how long the plugin may take to start")
	rotate := flags.String("rotate", "", "shell `command` that changes the material at the source; the rules about rotation need it")
	newDir := flags.String("new", "", "write the skeleton of a plugin into `folder`, which must not exist")
	lang := flags.String("lang", "go", "language of the skeleton: go, python or node")
	manifest := flags.String("manifest", "", "print the manifest (plugin.ReadManifest) of a `folder`")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "plugincheck:", err)
		return 2
	}
	switch {
	case *newDir != "":
		if err := writeSkeleton(*newDir, *lang, stdout); err != nil {
			return fail(err)
		}
		return 0
	case *manifest != "":
		if err := writeManifest(*manifest, stdout); err != nil {
			return fail(err)
		}
		return 0
	case *listRules:
		for _, r := range rules {
			fmt.Fprintf(stdout, "%-20s %s\n", r.name, r.title)
		}
		return 0
	case flags.NArg() == 0:
		flags.Usage()
		return 2
	}
	if err := rulesNamed(*only); err != nil {
		return fail(err)
	}
	path, err := exec.LookPath(flags.Arg(0))
	if err != nil {
		return fail(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return fail(err)
	}
	tg := &target{
		path: path, args: absolute(flags.Args()[1:]), env: env, settings: settings, secrets: map[string]plugin.Secret{},
		start: *start, cycles: *cycles, rotate: *rotate,
	}
	for k, v := range secrets {
		tg.secrets[k] = plugin.Secret(v)
	}
	report := check(ctx, tg, *only, func(v verdict) {
		if *jsonFile != "-" {
			v.print(stdout)
		}
	})
	if *jsonFile == "-" {
		err = report.writeJSON(stdout)
	} else {
		report.summary(stdout)
		if *jsonFile != "" {
			err = toFile(*jsonFile, report.writeJSON)
		}
	}
	if err == nil && *junitFile != "" {
		err = toFile(*junitFile, report.writeJUnit)
	}
	switch {
	case err != nil:
		return fail(err)
	case report.Failed > 0:
		return 1
	}
	return 0
}

// absolute makes paths of existing files absolute, because a plugin does not run in this folder.
func absolute(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if _, err := os.Stat(a); err == nil && !strings.HasPrefix(a, "-") {
			if abs, err := filepath.Abs(a); err == nil {
				out[i] = abs
			}
		}
	}
	return out
}

func toFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
