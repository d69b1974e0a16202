// The two ways in which a request can fail.

// An answer that says no: its status and its own words.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.name = "Refused";
    this.status = status;
  }
}

// The network, not the server, failed: worth another try.
export class Unreachable extends Error {
  constructor() {
    super("the server cannot be reached");
    this.name = "Unreachable";
  }
}
