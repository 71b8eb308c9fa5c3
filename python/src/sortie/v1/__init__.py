"""Generated stubs of ``sortie.v1``, for what the clients do not cover: ``encoder_service_pb2_grpc.EncoderServiceStub``."""
