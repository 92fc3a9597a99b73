// Package statediff finds a small JSON Patch (RFC 6902) between two states.
//
// Both are in the canonical form of package jcs. In it, equal values have equal bytes, so a subtree that did not change
// is passed over with one comparison and no number is ever parsed: what a diff carries is what the state holds, digit by
// digit.
//
// A list that grows, shrinks or slides costs as many operations as elements came and went: lists are matched with Myers'
// algorithm instead of a table of all pairs, which for lists of 10000 elements would take minutes and gigabytes.
package statediff
