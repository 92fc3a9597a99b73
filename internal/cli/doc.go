// Package cli is the command line of dashstream: one file for each command, and the machinery they share.
//
// To add a command, write a struct with a Run(context.Context, *Process) error method in a file of its own, and add one
// line to commandList. Fields with an envs tag are settings (package settings): their defaults are the values in the
// struct of that line, and flags and variables are filled in before Run. Other fields are plain kong flags and arguments.
//
// Data goes to standard output, everything said to people goes to standard error. --output json is a contract,
// exit codes are in exit.go.
package cli
