package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"megafs/crypto"
)

func main() {
	// Keys and plaintext are in this memory: no core files, no tracing by others, nothing readable that we make.
	unix.Umask(0o077)
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	os.Exit(run(os.Args))
}

// run is main without the process.
func run(args []string) int {
	app := &cli.App{
		Name: "megafs", Usage: "an end-to-end-encrypted store as a directory",
		Description: "The first mount makes an encrypted vault of your own; no account is needed.\n\n" +
			"   megafs mount ~/mega           mount it\n" +
			"   megafs status                 what is cached, waiting, being sent\n" +
			"   megafs umount --wait ~/mega   send everything, then unmount\n\n" + exitHelp,
		Version:                version(),
		UseShortOptionHandling: true,
		Commands: []*cli.Command{
			mountCommand, umountCommand, syncCommand, statusCommand, whyCommand, historyCommand, restoreCommand, limitCommand, vaultCommand, loginCommand, logoutCommand, whoamiCommand, linkCommand, megaserveCommand, doctorCommand, versionCommand, exitCodesCommand,
			daemonCommand, unlockCommand, lookCommand,
		},
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		CommandNotFound: func(c *cli.Context, name string) {
			fmt.Fprintf(os.Stderr, "megafs: there is no command %q; see megafs help\n", name)
			os.Exit(exitUsage)
		},
	}
	for _, c := range app.Commands {
		setUsage(c, app.OnUsageError)
	}
	err := app.Run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "megafs:", err)
	}
	return exitCode(err)
}

func setUsage(c *cli.Command, f cli.OnUsageErrorFunc) {
	c.OnUsageError = f
	for _, s := range c.Subcommands {
		setUsage(s, f)
	}
}

var versionCommand = &cli.Command{
	Name: "version", Usage: "which megafs this is",
	Action: func(c *cli.Context) error { fmt.Fprintln(c.App.Writer, "megafs", version()); return nil },
}

func version() string {
	i, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := i.Main.Version
	for _, s := range i.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + i.GoVersion
}

// unlockCommand is the child process in which a passphrase becomes a key, so that its memory ends with it.
var unlockCommand = &cli.Command{
	Name: "unlock-child", Hidden: true,
	Action: func(*cli.Context) error { return crypto.ServeUnlock(os.Stdin, os.Stdout) },
}
