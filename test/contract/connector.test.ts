import { serverKinds } from '../support/databases.ts';
import { expectations } from './connector-expectations.ts';
import { sqlSubject } from './connector-subject.ts';
import { connectorSuite } from './connector-suite.ts';

/** Every connector type answers the same questions the same way. Another SQL server is an entry of `dialects`. */
for (const kind of serverKinds) connectorSuite(sqlSubject(kind, expectations[kind]));
