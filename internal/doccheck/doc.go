// Package doccheck holds, by its tests, that the Markdown files of the module say what is so: links and anchors
// lead somewhere, Go code parses, whole programs compile, and the make targets, packages, tests and
// benchmarks that a command names exist. It has no code of its own and contacts no network.
package doccheck
