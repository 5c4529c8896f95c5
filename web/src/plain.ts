// Text for a terminal as plain text.

// Colours, moves of the cursor, titles and links: ESC [ … letter, ESC ] … BEL or ESC \,
// and ESC with one letter; also one at the end that is not whole yet.
const escapes = /\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[@-Z\\^_`a-z0-9=>]|$)/g;

// plain leaves out what steers a terminal. Of a line that is written over, as progress
// bars do, the last writing stays.
export function plain(text: string): string {
  return text.replace(escapes, "").replace(/\r+\n/g, "\n").replace(/^[^\n]*\r(?=[^\n\r])/gm, "").replace(/\r/g, "");
}
