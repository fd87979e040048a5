// What the libraries take for granted and Debian 12's Node 18 has elsewhere, or in more words.
const crypto = require("node:crypto");
globalThis.crypto ??= crypto.webcrypto;
globalThis.CryptoKey ??= crypto.webcrypto.CryptoKey;
crypto.hash ??= (algorithm, data, encoding = "hex") => crypto.createHash(algorithm).update(data).digest(encoding);
