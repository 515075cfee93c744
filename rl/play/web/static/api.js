// Requests to the server, and the WebSocket on which it tells what happens.

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** The answer's JSON; throws Refused with the server's sentence. */
export async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The server does not answer: is it still running?");
  }
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({ error: `the server answered with status ${answer.status}` }));
  if (!answer.ok) throw new Refused(answer.status, told.error);
  return told;
}

/** What happens in a room, for as long as the page is open; comes back after an interruption. */
export class Live {
  constructor(room, { message, picture, connected, gone }) {
    this.room = room;
    this.on = { message, picture, connected, gone };
    this.wait = 300;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/rooms/${this.room}/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.wait = 300;
      this.on.connected(true);
    };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        const length = new DataView(data).getUint32(0, true);
        const told = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
        this.on.picture(told, data.byteLength > 4 + length ? new Blob([new Uint8Array(data, 4 + length)], { type: "image/png" }) : null);
        return;
      }
      const told = JSON.parse(data);
      if (told.type === "refused") {
        this.close();
        this.on.gone(told.error);
      } else this.on.message(told);
    };
    socket.onclose = () => {
      if (this.closed) return;
      this.on.connected(false);
      this.timer = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(5000, this.wait * 1.6);
    };
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
