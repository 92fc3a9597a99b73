// Package deadletter keeps evidence of records that a component could not handle: a letter for each, in a topic beside the
// one that they came from.
//
// A letter's key is the place of the record that it is about, so that letters that were written twice, by two processes or
// before and after a crash, are known to be about one record.
package deadletter
