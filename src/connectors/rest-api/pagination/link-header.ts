/** The address with rel="next" in a Link header (RFC 8288); null without one. Addresses may hold commas and semicolons. */
export function nextLink(header: string | null): string | null {
  let rest = header ?? '';
  for (;;) {
    const link = /^[\s,]*<([^>]*)>/.exec(rest);
    if (link === null) return null;
    rest = rest.slice(link[0].length);
    let isNext = false;
    let seenRel = false;
    for (;;) {
      const parameter = /^\s*;\s*([\w!#$&+.^`|~*-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?/.exec(
        rest,
      );
      if (parameter === null) break;
      rest = rest.slice(parameter[0].length);
      // Only the first one counts.
      if (seenRel || parameter[1]?.toLowerCase() !== 'rel') continue;
      seenRel = true;
      const relations = (parameter[2] ?? parameter[3] ?? '').toLowerCase().split(/\s+/);
      isNext = relations.includes('next');
    }
    if (isNext) return link[1]?.trim() ?? null;
    const comma = /^[^,]*,/.exec(rest);
    if (comma === null) return null;
    rest = rest.slice(comma[0].length);
  }
}
