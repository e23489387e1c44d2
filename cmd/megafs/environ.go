package main

import (
	"os"
	"path/filepath"
	"strings"
)

// filesNamed are the variables by which the user names files to the libraries below. Those look when they need them, in the serving process and
// thus in another working directory than the user's.
var filesNamed = []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"}

// environ returns the environment for the serving process: this one's, with the names of files in it absolute.
func environ() ([]string, error) {
	env := os.Environ()
	for _, name := range filesNamed {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		list := []string{value}
		if name == "SSL_CERT_DIR" {
			list = filepath.SplitList(value)
		}
		for i, p := range list {
			var err error
			if list[i], err = filepath.Abs(p); err != nil {
				return nil, err
			}
		}
		env = append(env, name+"="+strings.Join(list, string(filepath.ListSeparator)))
	}
	return env, nil
}
