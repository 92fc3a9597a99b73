// Package jcs brings JSON into the canonical form of RFC 8785 without losing a digit, and hashes it.
//
// RFC 8785 treats every number as an IEEE 754 double. A state may hold numbers that no double is, such as the
// identifier 9007199254740993. Such a number keeps its digits here, the document is reported as inexact, and it has no
// hash: two readers would not agree on one, and a wrong hash is worse than none.
package jcs
