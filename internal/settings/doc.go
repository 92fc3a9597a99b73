// Package settings says a setting once: a struct field with tags is at the same time the command-line flag, the
// environment variables, the help text, the bounds, the secret and the row of the reference in docs/configuration.md.
//
// A settings struct is an ordinary struct. Its default is the value it holds before Load, so that zero stays a legal
// value. A field with an envs tag is a setting:
//
//	name         flag name, without dashes
//	envs         environment variables, comma separated; the first is canonical, the others are aliases
//	help         one sentence
//	group        heading in --help and in the reference
//	placeholder  what --help shows for the value
//	min, max     inclusive bounds of a number or a duration
//	allowed      what may be written, when the type does not say it itself
//	unset        what an empty or zero value means, for help and reference
//	hidden       present to leave the flag out of the --help of commands
//
// A type may parse itself (encoding.TextUnmarshaler), print itself (encoding.TextMarshaler), say what it allows
// (Allower), and hide itself (Secret).
//
// Precedence: a flag beats the environment, the environment beats the default. An empty variable counts as unset. Two
// names of one setting may both be set when they agree; when they differ, that is an error, because one of two
// components would otherwise follow a name that the operator believes to be without effect.
//
// The package knows no command-line library and reads no process state, so the SDK and tests load from any lookup
// function. internal/cli binds it to flags.
package settings
