// Package app wires a process from its parts: [New] makes and binds, [App.Run]
// serves until its context ends and then stops everything in order. A test can
// hold two of them at once; nothing is global.
package app
