/* api/openapi.yaml inside the program (api.h); OPENAPI_PATH comes from the build. */
	.section .rodata.api_openapi, "a"
	.globl api_openapi, api_openapi_end
	.type api_openapi, @object
api_openapi:
	.incbin OPENAPI_PATH
api_openapi_end:
	.byte 0
	.size api_openapi, . - api_openapi
	.section .note.GNU-stack, "", @progbits
