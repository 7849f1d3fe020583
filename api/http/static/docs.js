"use strict";
// validatorUrl: Swagger UI would otherwise ask a server of its makers what it thinks of the page.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
