// Command compose-config loads a compose file as Docker Compose does, by the same library, and prints it as JSON: resolved,
// interpolated, checked against the specification, and with every reference within it (services, volumes, networks) in place.
//
// Usage: compose-config FILE [PROFILE …]
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: compose-config FILE [PROFILE …]")
		os.Exit(2)
	}
	if err := show(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "compose-config:", err)
		os.Exit(1)
	}
}

func show(file string, profiles []string) error {
	// Nothing of this process's environment: the file must stand on its defaults.
	options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles(profiles), cli.WithName("cutline"))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
