import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

/** `node --import` this: the URL of every module the process resolves goes to the file MILLRACE_TEST_LOADED names. */
const list = process.env['MILLRACE_TEST_LOADED'];
if (list !== undefined) {
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      appendFileSync(list, `${found.url}\n`);
      return found;
    },
  });
}
