import { CORE_SCHEMA, load, mergeTag } from 'js-yaml';
import { MillraceError } from '../../../core/errors.ts';
import { plain } from '../../sql/names.ts';

/**
 * Half of all documents are written in YAML and come with comments. It takes ten times as long as JSON and several times
 * its size in memory; the largest that is known has 10 MB.
 */
const yamlCharactersMax = 12_000_000;
/**
 * What an alias names is one object, however often it is named: a document that multiplies itself stays as small as it
 * came. These keep one that does nothing else from taking its time.
 */
const yamlLimits = { maxAliases: 10_000, maxTotalMergeKeys: 10_000, maxDepth: 200 };

/** YAML 1.2, where a day is a text and `no` a word, with the `<<` of 1.1, which people use all the same. */
const schema = CORE_SCHEMA.withTags(mergeTag);

/** A document's text, JSON or YAML, as plain data. Throws `response_invalid` for what is neither. */
export function parseDocument(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Broken JSON is nearly YAML, and what is wrong with it would be said in words of the other.
    if (/^\s*[{[<]/.test(text)) throw unusable('it is no JSON');
    return parseYaml(text);
  }
}

/** Why a document is of no use, with what to do instead. */
export function unusable(what: string): MillraceError {
  return new MillraceError('response_invalid', `The OpenAPI document cannot be used: ${what}.`, {
    hint: 'Name one of OpenAPI 3, in JSON or YAML, in "openapi" of the connector\'s config, or declare streams by path and look at them with preview_stream.',
    who: 'assistant',
  });
}

function parseYaml(text: string): unknown {
  if (text.length > yamlCharactersMax)
    throw unusable(
      `as YAML it may have ${yamlCharactersMax} characters and has ${text.length}; in JSON it may be larger`,
    );
  try {
    // `json`: of a key that stands twice the last one counts, as in JSON.
    return load(text, { ...yamlLimits, schema, json: true });
  } catch (error) {
    throw unusable(`it is no JSON and, as YAML, broken: ${plain(reasonOf(error), 200)}`);
  }
}

/** Without the lines around, which the library shows. */
function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}
