// Package deptest holds, by its tests, what the packages of the module may import and what that weighs: that
// imports run one way, that the core never reaches a heavy dependency, and how much a small program grows
// by importing it. It has no code of its own.
package deptest
