package main

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The skeletons are working plugins. Files end in .txt so that no tool takes them for this module's.
//
//go:embed all:skeleton
var skeletons embed.FS

func writeSkeleton(dir, lang string, out io.Writer) error {
	root := "skeleton/" + lang
	if _, err := fs.Stat(skeletons, root); err != nil {
		return fmt.Errorf("there is no skeleton for -lang %q; there are go, python and node", lang)
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s exists; name a folder that does not", dir)
	}
	err := fs.WalkDir(skeletons, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimSuffix(strings.TrimPrefix(name, root), ".txt")
		to := filepath.Join(dir, filepath.FromSlash(rel))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := skeletons.ReadFile(name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(b), "#!") {
			mode = 0o755
		}
		return os.WriteFile(to, b, mode)
	})
	if err != nil {
		return err
	}
	b, err := skeletons.ReadFile(path.Join(root, "README.md.txt"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s holds a plugin that works.\n\n%s", dir, b)
	return err
}

// writeManifest prints the digests of the files in a folder, as sha256sum does. Folders of packages that the plugin
// loads, such as node_modules, are among them; hidden folders are not.
func writeManifest(dir string, out io.Writer) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != dir && (strings.HasPrefix(base, ".") || base == "__pycache__") {
				return filepath.SkipDir
			}
			return nil
		}
		if info, err := os.Stat(name); err != nil {
			return err
		} else if !info.Mode().IsRegular() { // a pipe would be waited for
			return fmt.Errorf("%s is no regular file, nor a link to one; a node copies regular files alone: take it out of the folder", name)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%x  %s\n", sha256.Sum256(b), filepath.ToSlash(rel))
		return err
	})
}
