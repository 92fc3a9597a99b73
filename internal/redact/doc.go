// Package redact removes secrets from what is about to leave a process: credentials that are known by their form, and
// values that are known by the name of their field.
//
// By form: the keys of model providers, clouds, code hosts and common services, bearer and basic credentials, JSON Web
// Tokens, private keys whole (also cut off at either end, and in base64), passwords in URLs and data source names. By name:
// password, api_key, authorization and their like, as members of JSON objects, as keys of maps, and inside text in the
// notations of programs, shells, YAML, XML and forms. Which names, names.go says; which notations, the tests do.
//
// A secret is replaced by [Mask]. The guarantees, each held by a test or a fuzz target:
//
//   - JSON stays JSON. A text that is a JSON object or array is changed token by token; all other bytes of it are copied,
//     so numbers keep their digits.
//   - Redacting twice changes nothing more.
//   - Time is linear in the text. The built-in rules are scanners over one pass of an automaton, not regular expressions;
//     patterns of the caller are RE2.
//
// What it cannot know stays: a secret without a form of its own under a name that says nothing or in a column under its
// heading, one that is encoded (but for escapes of URLs and quotes), one that is split over several strings. Of a sentence
// ("the password is …") only a value in quotes is taken, or one that is no word of the language. A stream has given a value
// out before it sees a name that follows it.
package redact

// Mask stands where a secret was.
const Mask = "[REDACTED]"
