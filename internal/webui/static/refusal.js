// Why a connection could not be made. A browser does not say; HTTP does.

// The path of the stream, asked without the headers of a WebSocket handshake:
// what would refuse a handshake refuses this too, and else the answer is 426.
const STREAM = "/ws";
const WOULD_CONNECT = 426;

// whyRefused asks, by ask(path) -> Promise of an HTTP status or 0. /v1/session
// says who may connect, and no more: 204 from it is no refusal.
export async function whyRefused(ask) {
  const session = await ask("/v1/session");
  return session >= 200 && session < 300 ? ask(STREAM) : session;
}

export function refusalWords(status) {
  switch (status) {
    case 0:
      return "the server cannot be reached";
    case 403:
      return "the server does not let this origin or host name connect (HTTP 403): see --allowed-origins";
    case 429:
      return "the server has too many connections, in all or from this address (HTTP 429)";
    case 503:
      return "the server cannot read the stream yet (HTTP 503)";
    case WOULD_CONNECT:
      return "the WebSocket could not be opened, though the server answers: is there a proxy between that does not let it through?";
    default:
      return `the server refused the connection (HTTP ${status})`;
  }
}
