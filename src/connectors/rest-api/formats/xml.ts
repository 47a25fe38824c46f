import { createHash } from 'node:crypto';
import { TextDecoder } from 'node:util';
import { SaxesParser } from 'saxes';
import { brokeOff, tooLarge, unreadable } from './failures.ts';
import {
  envelopeBytesMax,
  type Group,
  groupBytes,
  hashRecords,
  type PageParser,
  recordBytesMax,
} from './page.ts';

/** Deeper is no data: such documents are written to overflow stacks. */
const depthMax = 256;

/**
 * XML by `saxes`, as a stream: each element at the path becomes a record. An element with nothing but text is that text;
 * else an object of its attributes (`@name`), its children (a list where one repeats) and its own text (`#text`). Entities
 * that a document declares itself are refused, and nothing outside of it is ever loaded.
 */
export function xmlPage(path: readonly string[]): PageParser {
  const hash = createHash('sha1');
  const builder = new TreeBuilder(path);
  const parser = new SaxesParser({ xmlns: false, fragment: false });
  parser.on('opentag', (tag) => builder.open(tag.name, tag.attributes));
  parser.on('closetag', () => builder.close());
  parser.on('text', (text) => builder.text(text));
  parser.on('cdata', (text) => builder.text(text));
  parser.on('doctype', (text) => {
    if (/<!ENTITY/i.test(text))
      throw unreadable('its document type declares entities, which are not followed');
  });
  parser.on('error', (error) => {
    if (/unclosed|unexpected end|must contain a root|document must/i.test(error.message))
      throw brokeOff('in the middle of its XML');
    throw unreadable(`it is no XML: ${error.message.replace(/\s+/g, ' ').slice(0, 200)}`, error);
  });

  const taken = (): Group => {
    const group = builder.take();
    hashRecords(hash, group.records);
    return group;
  };

  return {
    textual: true,
    get found() {
      return builder.found;
    },
    async *groups(body) {
      const decoder = new TextDecoder('utf-8', { fatal: true });
      for await (const chunk of body) {
        // A chunk can be a whole page: piece by piece, so that records do not all come at once.
        for (let at = 0; at < chunk.length; at += groupBytes) {
          parser.write(textOf(decoder, chunk.subarray(at, at + groupBytes)));
          if (builder.isFull) yield taken();
        }
      }
      parser.write(textOf(decoder, null));
      parser.close();
      if (!builder.isEmpty) yield taken();
    },
    envelope: () => builder.envelope(),
    fingerprint: () => hash.copy().digest('base64url'),
  };
}

function textOf(decoder: TextDecoder, bytes: Buffer | null): string {
  try {
    return bytes === null ? decoder.decode() : decoder.decode(bytes, { stream: true });
  } catch (error) {
    throw unreadable('it is not UTF-8; name its charset in "rest": {"charset": …} of the stream', error);
  }
}

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Map<string, unknown[]>;
  readonly texts: string[];
}

class TreeBuilder {
  found = false;
  readonly #path: readonly string[];
  readonly #stack: Element[] = [];
  /** How many of the open elements, from the root, lie on the path. */
  #onPath = 0;
  #records: unknown[] = [];
  #size = 0;
  #root: unknown = null;
  #outsideSize = 0;
  #recordSize = 0;

  constructor(path: readonly string[]) {
    this.#path = path;
  }

  open(name: string, attributes: Readonly<Record<string, string>>): void {
    const depth = this.#stack.length;
    if (depth >= depthMax) throw unreadable(`its elements stand more than ${depthMax} deep in each other`);
    if (this.#onPath === depth && this.#path[depth] === name) this.#onPath = depth + 1;
    // An empty list has its place all the same.
    if (this.#onPath >= this.#path.length - 1 && this.#onPath > 0) this.found = true;
    if (this.#path.length <= 1) this.found = true;
    this.#stack.push({ name, attributes, children: new Map(), texts: [] });
    this.#grow(name.length + JSON.stringify(attributes).length);
  }

  text(text: string): void {
    this.#stack.at(-1)?.texts.push(text);
    this.#grow(text.length);
  }

  close(): void {
    const element = this.#stack.pop();
    if (element === undefined) return;
    const depth = this.#stack.length;
    const isRecord = this.#path.length > 0 && depth + 1 === this.#path.length && this.#onPath === depth + 1;
    this.#onPath = Math.min(this.#onPath, depth);
    const value = elementValue(element);
    if (isRecord) {
      this.#records.push(value);
      this.#recordSize = 0;
      return;
    }
    const parent = this.#stack.at(-1);
    if (parent === undefined) {
      this.#root = { [element.name]: value };
      if (this.#path.length === 0) this.#records.push(this.#root);
      return;
    }
    const same = parent.children.get(element.name);
    if (same === undefined) parent.children.set(element.name, [value]);
    else same.push(value);
  }

  get isFull(): boolean {
    return this.#size >= groupBytes && this.#records.length > 0;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  take(): Group {
    const group = { records: this.#records, bytes: this.#size };
    this.#records = [];
    this.#size = 0;
    return group;
  }

  envelope(): unknown {
    return this.#root;
  }

  #grow(chars: number): void {
    this.#size += chars;
    const inRecord = this.#path.length > 0 && this.#onPath === this.#path.length;
    if (inRecord) this.#recordSize += chars;
    else this.#outsideSize += chars;
    if (this.#recordSize > recordBytesMax)
      throw tooLarge(`One record is larger than ${recordBytesMax} bytes`, 'Ask the API for fewer fields.');
    const most = this.#path.length === 0 ? recordBytesMax : envelopeBytesMax;
    if (this.#outsideSize > most) {
      throw tooLarge(
        `What surrounds the records is larger than ${most} bytes`,
        'Set "records" to the path of the repeated element, e.g. "rss.channel.item".',
      );
    }
  }
}

function elementValue({ attributes, children, texts }: Element): unknown {
  const text = texts.join('');
  const names = Object.keys(attributes);
  if (names.length === 0 && children.size === 0) return text === '' ? null : text;
  const entries: [string, unknown][] = names.map((name) => [`@${name}`, attributes[name]]);
  for (const [name, values] of children) entries.push([name, values.length === 1 ? values[0] : values]);
  if (text.trim() !== '') entries.push(['#text', children.size === 0 ? text : text.trim()]);
  // Defines rather than assigns: an element may be called `__proto__`.
  return Object.fromEntries(entries);
}
