// Bytes and text on their way from the stream, bounded and exact.

// base64ToBytes reads standard or URL-safe base64, as ProtoJSON allows both.
export function base64ToBytes(s) {
  if (typeof s !== "string") throw new TypeError("bytes must be a base64 string");
  const binary = atob(s.replaceAll("-", "+").replaceAll("_", "/"));
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

// base64Size is how many bytes base64 with padding stands for.
export function base64Size(s) {
  return Math.floor((s.length * 3) / 4) - (s.endsWith("==") ? 2 : s.endsWith("=") ? 1 : 0);
}

// base64ToText reads base64 of UTF-8 and throws on bytes that are not.
export function base64ToText(s) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(base64ToBytes(s));
}

// base64ToHex is for ids.
export function base64ToHex(s) {
  return Array.from(base64ToBytes(s), (b) => b.toString(16).padStart(2, "0")).join("");
}

// textToBase64URL writes UTF-8 text in base64url without padding.
export function textToBase64URL(text) {
  let binary = "";
  for (const b of new TextEncoder().encode(text)) binary += String.fromCharCode(b);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// clip shortens text to n UTF-16 units, never between the halves of a pair.
export function clip(text, n) {
  const s = String(text);
  if (s.length <= n) return s;
  let end = n - 1;
  const last = s.charCodeAt(end - 1);
  if (last >= 0xd800 && last <= 0xdbff) end--;
  return s.slice(0, end) + "…";
}

// tail keeps the last n units of growing text, cut the same way.
export function tail(text, n) {
  if (text.length <= n) return text;
  let start = text.length - n;
  const first = text.charCodeAt(start);
  if (first >= 0xdc00 && first <= 0xdfff) start++;
  return text.slice(start);
}
