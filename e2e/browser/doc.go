// Package browser drives the page that the gateway serves in a headless
// Chromium, against the real program. It is a module of its own, so that the
// protocol of browsers is no dependency of DashStream.
//
// Run it with scripts/browser-test.sh. It needs Chromium or Chrome. With
// DASHSTREAM_SCREENSHOTS=DIR it leaves pictures of what it saw there.
package browser
